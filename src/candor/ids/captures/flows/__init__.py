"""Network flows: importers, one strict schema, host pseudonyms."""

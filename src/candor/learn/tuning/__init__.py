"""Searching for better settings: typed spaces, studies on disk, searches by Optuna or Ray Tune."""

"""Small recurrent networks from training to a video; README.md tells the way."""

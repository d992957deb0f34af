"""Training: a recipe a model; their names are here, where the command line finds them before torch is there."""

RECIPES = (
    "parser", "linear", "linear-gan", "sketch", "generator", "flow", "link", "knowledge", "deepjscc", "end-to-end",
    "hyperprior", "scene-parser", "judge", "tables", "scene-codec", "features", "allocation", "equaliser", "trust",
)  # fmt: skip

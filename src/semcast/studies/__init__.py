"""The papers' figures and this project's own questions, each made anew by one command."""

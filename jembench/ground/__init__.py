"""The ground: small things that know nothing of models, tracks and measurements."""

"""How the bundled demo model (assets/demo_model) is measured."""

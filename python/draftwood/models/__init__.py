"""Reading weights and configurations."""

"""Two applications of agents with known or estimated preferences: prices and vehicle dilemmas."""

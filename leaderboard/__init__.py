"""The CARLA Leaderboard in one code base: official 2.0 and 2.1 rules, Bench2Drive and expert data collection."""

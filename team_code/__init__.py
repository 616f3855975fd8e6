"""What the evaluator loads: the SimLingo agents, the expert, the data agent, and what they need."""

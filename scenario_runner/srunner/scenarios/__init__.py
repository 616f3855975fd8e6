"""Scenario types in families; `srunner.scenarios.registry` names them all."""

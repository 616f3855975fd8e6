"""The towns that come with the repository, as tables."""

from carla_server.map.generator.plan import TownPlan
from carla_server.map.generator.towns.mini01 import MINI01
from carla_server.map.generator.towns.mini02 import MINI02
from carla_server.map.generator.towns.mini03 import MINI03

#: Town plans by name.
TOWNS: dict[str, TownPlan] = {plan.name: plan for plan in (MINI01, MINI02, MINI03)}

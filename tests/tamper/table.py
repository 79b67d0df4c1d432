"""The whole attack table, in its order."""

from tests.tamper import attacks_offline, attacks_on_the_way, attacks_on_time, attacks_online
from tests.tamper.attack import KINDS

MODULES = (attacks_on_the_way, attacks_online, attacks_offline, attacks_on_time)
ATTACKS = sorted(
    (attack for module in MODULES for attack in module.ATTACKS),
    key=lambda attack: KINDS.index(attack.kind),
)

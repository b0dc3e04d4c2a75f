"""Who uses the demo's product: the customers and subscriptions that warehouse and Lago share."""

from dataclasses import dataclass
from typing import Literal

Rhythm = Literal["office", "consumer", "nightly", "machine"]
Clock = Literal["plain", "zulu", "berlin"]


@dataclass(frozen=True, slots=True)
class Subscription:
    """One subscription and how it uses the product.

    `share` is its weight among all API requests of a weekday. `clock` is how its gateway spells timestamps:
    `2026-09-01 08:00:00.000`, `2026-09-01T08:00:00.000Z` or `2026-09-01T10:00:00.000+02:00`.
    """

    external_id: str
    rhythm: Rhythm
    share: int
    seats: int
    clock: Clock = "plain"


@dataclass(frozen=True, slots=True)
class Customer:
    """One customer; `domain` ends the user ids of its seats."""

    external_id: str
    name: str
    domain: str
    subscriptions: tuple[Subscription, ...]


CUSTOMERS = (
    Customer(
        "cust_hafenblick",
        "Hafenblick Logistik GmbH",
        "hafenblick.example",
        (
            Subscription("sub_hafenblick_prod", "office", 180, 130),
            Subscription("sub_hafenblick_night", "nightly", 45, 0, clock="berlin"),
        ),
    ),
    Customer(
        "cust_brightside",
        "Brightside Retail, Inc.",
        "brightside.example",
        (
            Subscription("sub_brightside_shop", "consumer", 260, 0),
            Subscription("sub_brightside_staff", "office", 40, 210),
        ),
    ),
    Customer(
        "cust_fjord",
        "Fjord Analytics AS",
        "fjord.example",
        (
            Subscription("sub_fjord_prod", "machine", 210, 90),
            Subscription("sub_fjord_staging", "machine", 25, 0),
        ),
    ),
    Customer(
        "cust_yamakawa",
        "山川製作所",
        "yamakawa.example",
        (Subscription("sub_yamakawa_prod", "nightly", 110, 160),),
    ),
    Customer(
        "cust_datenwerk",
        'Datenwerk "Süd" München',
        "datenwerk.example",
        (Subscription("sub_datenwerk_prod", "office", 60, 75, clock="zulu"),),
    ),
    Customer(
        "cust_cafe_zoe",
        "Café Zoë & Söhne",
        "cafe-zoe.example",
        (Subscription("sub_cafe_zoe", "consumer", 14, 25),),
    ),
    Customer(
        "cust_tiny",
        "Tiny Studio",
        "tiny.example",
        (Subscription("sub_tiny", "office", 3, 6),),
    ),
)

SUBSCRIPTIONS = tuple(each for customer in CUSTOMERS for each in customer.subscriptions)

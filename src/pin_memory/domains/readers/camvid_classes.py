"""How the classes of CamVid are written in its label maps."""

from pin_memory.domains.readers.label_codes import CodeTable, Colour
from pin_memory.utils.labels import IGNORE, label_table

COLOURS: dict[str, tuple[Colour, int]] = {
    "Animal": ((64, 128, 64), IGNORE),
    "Archway": ((192, 0, 128), IGNORE),
    "Bicyclist": ((0, 128, 192), 12),
    "Bridge": ((0, 128, 64), IGNORE),
    "Building": ((128, 0, 0), 2),
    "Car": ((64, 0, 128), 13),
    "CartLuggagePram": ((64, 0, 192), IGNORE),
    "Child": ((192, 128, 64), 11),
    "Column_Pole": ((192, 192, 128), 5),
    "Fence": ((64, 64, 128), 4),
    "LaneMkgsDriv": ((128, 0, 192), 0),
    "LaneMkgsNonDriv": ((192, 0, 64), 0),
    "Misc_Text": ((128, 128, 64), IGNORE),
    "MotorcycleScooter": ((192, 0, 192), 17),
    "OtherMoving": ((128, 64, 64), IGNORE),
    "ParkingBlock": ((64, 192, 128), IGNORE),
    "Pedestrian": ((64, 64, 0), 11),
    "Road": ((128, 64, 128), 0),
    "RoadShoulder": ((128, 128, 192), IGNORE),
    "Sidewalk": ((0, 0, 192), 1),
    "SignSymbol": ((192, 128, 128), 7),
    "Sky": ((128, 128, 128), 10),
    "SUVPickupTruck": ((64, 128, 192), 13),
    "TrafficCone": ((0, 0, 64), IGNORE),
    "TrafficLight": ((0, 64, 64), 6),
    "Train": ((192, 64, 128), 16),
    "Tree": ((128, 128, 0), 8),
    "Truck_Bus": ((192, 128, 192), IGNORE),  # either class, so none
    "Tunnel": ((64, 0, 64), IGNORE),
    "VegetationMisc": ((192, 192, 0), 8),
    "Void": ((0, 0, 0), IGNORE),
    "Wall": ((64, 192, 0), 3),
}
"""The colour and the train id of each of the 32 classes."""

DECODER = CodeTable.of_colours({colour: number for number, (colour, _) in enumerate(COLOURS.values())})
"""From colours to places in `COLOURS`."""

# Bicyclists (with their bicycles) count as riders.
TABLES = {
    # sky, building, pole, road, pavement, tree, sign, fence, car, pedestrian, bicyclist
    "segnet11": label_table([10, 2, 5, 0, 1, 8, 7, 4, 13, 11, 12]),
    # building, tree, sky, car, sign, road, pedestrian, fence, pole, sidewalk, bicyclist
    "semseg11": label_table([2, 8, 10, 13, 7, 0, 11, 4, 5, 1, 12]),
    "colours32": label_table([train_id for _, train_id in COLOURS.values()]),
}
"""Train id of each raw id, (256,) uint8, by encoding."""

VOID = {"segnet11": 11, "semseg11": 255}
"""The id of void, of each order of ids."""

LAST_ID = 10
"""The highest id of a class."""

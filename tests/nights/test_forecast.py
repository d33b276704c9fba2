"""What a night would do, told: sums against the budget, times as people write them."""

from __future__ import annotations

import made_nights
import pytest

from harness.nights import forecast
from harness.records.nights import PlannedRow


def due(expected_s: float | None, device: str = "pi5", model: str = "resnet18") -> PlannedRow:
    return PlannedRow(made_nights.row(device, model), "due", "never measured", expected_s)


@pytest.mark.parametrize(
    "rows, fits, said",
    [
        ([due(100.0), due(3500.0)], True, "2 due (1 h 00 min), fits into 1 h 00 min"),
        ([due(4000.0)], False, "1 due (1 h 07 min), does not fit into 1 h 00 min"),
        ([due(100.0), due(None)], None, "2 due (2 min, 1 never timed), of 1 h 00 min"),
        ([due(None), due(4000.0)], False, "2 due (1 h 07 min, 1 never timed), does not fit into 1 h 00 min"),
        ([PlannedRow(made_nights.row(), "fresh", "nothing changed", 60.0)], True, "nothing due, 1 fresh"),
    ],
)
def test_a_device_s_night_is_summed_up_against_its_budget(rows: list[PlannedRow], fits: bool | None, said: str) -> None:
    (total,) = forecast.sums(rows, 3600.0)
    assert total.fits is fits
    assert next(forecast.lines(rows, 3600.0)) == f"pi5: {said}"


def test_devices_come_one_after_the_other_each_with_its_rows() -> None:
    rows = [due(70.0), due(None, "jetson"), due(600.0, "jetson", "vgg16")]
    assert list(forecast.lines(rows, 60.0)) == [
        "pi5: 1 due (70 s), does not fit into 60 s",
        "  due    resnet18 easier onnxruntime fp32     70 s  never measured",
        "jetson: 2 due (10 min, 1 never timed), does not fit into 60 s",
        "  due    resnet18 easier onnxruntime fp32        ?  never measured",
        "  due    vgg16 easier onnxruntime fp32      10 min  never measured",
    ]

"""A person's own table: sharpness, its mini-batch relatives and the critical step size, for several batch sizes."""

from esssim.data.tables import load_table
from esssim.measure.files import write_measurement
from esssim.measure.measuring import BATCH_SIZES, measure_table
from esssim.measure.models import MODELS
from esssim.measure.picture import picture
from esssim.measure.results import BatchSizeRow, TableMeasurement

__all__ = [
    "BATCH_SIZES",
    "MODELS",
    "BatchSizeRow",
    "TableMeasurement",
    "load_table",
    "measure_table",
    "picture",
    "write_measurement",
]

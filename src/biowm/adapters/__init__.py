"""How any model enters, whatever it is made of: NumPy in, NumPy out."""

from .endpoint import Predict, wrap_endpoint
from .functions import plain_errors
from .histories import Histories, histories
from .world import wrap

__all__ = ["Histories", "Predict", "histories", "plain_errors", "wrap", "wrap_endpoint"]

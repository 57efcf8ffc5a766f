"""Public data sets and a synthetic one, as rows for scikit-learn."""

from pulsehr.datasets._dataset import HeartRateDataset, dataset_from_recordings
from pulsehr.datasets._folder import load_folder
from pulsehr.datasets.bami import load_bami
from pulsehr.datasets.empatica import load_empatica
from pulsehr.datasets.ieee_spc import load_ieee_spc
from pulsehr.datasets.physionet_wrist import load_physionet_wrist
from pulsehr.datasets.ppg_dalia import load_ppg_dalia
from pulsehr.datasets.synthetic import make_recordings
from pulsehr.datasets.wesad import load_wesad

__all__ = [
    "HeartRateDataset",
    "dataset_from_recordings",
    "load_bami",
    "load_empatica",
    "load_folder",
    "load_ieee_spc",
    "load_physionet_wrist",
    "load_ppg_dalia",
    "load_wesad",
    "make_recordings",
]

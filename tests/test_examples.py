"""The short examples run as they are and print what they promise; the demo has its own tests."""

from __future__ import annotations

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import sklearn

from pulsehr.exceptions import RepairedDataWarning

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def example(request):
    spec = spec_from_file_location(request.param, EXAMPLES / f"{request.param}.py")
    module = module_from_spec(spec)
    with sklearn.config_context():  # examples may set it
        spec.loader.exec_module(module)
        yield module


@pytest.mark.parametrize("example", ["model_selection"], indirect=True)
def test_a_search_is_judged_stored_and_read_back(example, capsys):
    assert example.main(n_subjects=4, duration=40, epochs=1)
    printed = capsys.readouterr().out
    assert len(re.findall(r"^(?:0\.5|1\.0) .*\d\.\d\d$", printed, re.MULTILINE)) == 8
    assert re.search(r"nested, on subjects that the search has not seen: \d+\.\d\d bpm", printed)
    assert "predicts the same: True" in printed


@pytest.mark.parametrize("example", ["export_onnx"], indirect=True)
def test_onnx_files_agree_with_predict(example, capsys, tmp_path):
    example.main(tmp_path / "onnx")
    printed = capsys.readouterr().out
    far = [float(bpm) for bpm in re.findall(r"at most (\d+\.\d+) bpm from predict", printed)]
    assert len(far) == 3
    assert far[0] <= 1e-4  # float
    assert far[1] <= 1 / 256  # exact int8
    assert {path.name for path in (tmp_path / "onnx").iterdir()} == {
        "student.onnx",
        "student_int8.onnx",
        "student_qdq.onnx",
    }


@pytest.mark.parametrize("example", ["firmware_qemu"], indirect=True)
def test_a_pipeline_becomes_an_image_that_prints_heart_rates(example, capsys, tmp_path, missing):
    try:
        assert example.main(tmp_path / "firmware", epochs=1)
    except RuntimeError as error:
        missing(str(error))
    printed = capsys.readouterr().out
    assert "56 heart rates, Cortex-M4 and Python: equal, every bit" in printed
    assert (tmp_path / "firmware" / "memory_plan.png").stat().st_size > 10_000


@pytest.mark.parametrize("example", ["own_recordings"], indirect=True)
@pytest.mark.filterwarnings("ignore::pulsehr.exceptions.MissingSamplesWarning")
def test_a_folder_of_csv_files_becomes_an_error_by_subject(example, capsys, tmp_path):
    example.write_synthetic(tmp_path, n_subjects=3, duration=96)
    with pytest.warns(RepairedDataWarning, match=r"'s00_walk': 3\.3% of ppg is missing"):
        error = example.main(tmp_path, figure=tmp_path / "figure.png", epochs=1)
    printed = capsys.readouterr().out
    assert "HeartRateDataset(" in printed
    assert "6 recordings, 3 subjects)" in printed
    assert "offset +0.00 s taken; the PPG suggests" in printed
    assert re.search(rf"^mean of the subjects +\d+\.\d\d +{error:.2f} ", printed, re.MULTILINE)
    assert len(re.findall(r"^s0\d +\d", printed, re.MULTILINE)) == 3
    assert (tmp_path / "figure.png").stat().st_size > 10_000


@pytest.mark.parametrize("example", ["own_recordings"], indirect=True)
def test_a_folder_of_other_tables_says_what_to_change(example, tmp_path):
    (tmp_path / "me_walk.csv").write_text("timestamp,green\n1,2\n")
    with pytest.raises(SystemExit, match=r"me_walk\.csv: expected the columns time, ppg, acc_x,"):
        example.main(tmp_path)
    (tmp_path / "me_walk.csv").write_text("time,ppg,acc_x,acc_y,acc_z\n2026-01-31,2,0,0,1\n")
    with pytest.raises(SystemExit, match=r"me_walk_belt\.csv is missing"):
        example.main(tmp_path)
    (tmp_path / "me_walk.csv").unlink()
    example.write_synthetic(tmp_path, n_subjects=1, duration=96)
    (tmp_path / "s00_walk.csv").unlink()
    with pytest.raises(SystemExit, match="recordings of two subjects are wanted"):
        example.main(tmp_path)

"""What user code finds around it, piece by piece."""

import os
import pathlib
import sys
import tempfile
import unittest

from batchmill_host.appended import Appended
from batchmill_host.current_file import CurrentFile
from batchmill_host.failures import user_failure
from batchmill_host.model_environment import blamed, differences, wanted_packages
from batchmill_host.open_watch import watch_opens


class _Told:
    """Stands where the channel does: keeps what was told."""

    def __init__(self) -> None:
        self.files: "list[tuple[int, int]]" = []

    def tell_file(self, sequence: int, index: int) -> None:
        self.files.append((sequence, index))


class Opens(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.told = _Told()
        self.current = CurrentFile(self.told)  # type: ignore[arg-type]
        self.appended = Appended()
        watch_opens(self.current, self.appended)
        self.appended.watch(folder.name)

    def test_files_opened_for_appending_below_the_folder_are_named_once(self) -> None:
        (self.folder / "deep").mkdir()
        for _ in range(2):
            with open(self.folder / "deep" / "a.txt", "a") as file:
                file.write("x")
        os.close(os.open(str(self.folder / "b.txt"), os.O_WRONLY | os.O_CREAT | os.O_APPEND))
        with open(self.folder / "whole.txt", "w") as file:
            file.write("x")
        with tempfile.NamedTemporaryFile("a") as elsewhere:
            elsewhere.write("x")
        self.assertEqual(self.appended.take(), ["b.txt", "deep/a.txt"])
        self.assertEqual(self.appended.take(), [])

    def test_relative_paths_and_links_are_followed(self) -> None:
        (self.folder / "real.txt").touch()
        (self.folder / "link.txt").symlink_to(self.folder / "real.txt")
        before = os.getcwd()
        self.addCleanup(os.chdir, before)
        os.chdir(self.folder)
        with open("./link.txt", "ab") as file:
            file.write(b"x")
        self.assertEqual(self.appended.take(), ["real.txt"])

    def test_a_file_that_stays_open_is_named_until_it_is_closed(self) -> None:
        with open(self.folder / "log.txt", "a") as file:
            self.assertEqual([self.appended.take() for _ in range(3)], [["log.txt"]] * 3)
            file.write("x")
        self.assertEqual([self.appended.take() for _ in range(2)], [["log.txt"], []])

    def test_the_current_file_is_told_when_it_is_opened(self) -> None:
        paths = [str(self.folder / name) for name in ("one", "two")]
        for path in paths:
            pathlib.Path(path).touch()
        self.current.begin(7, paths)
        for path in [paths[1], paths[1], paths[0]]:
            open(path).close()
        self.current.end()
        open(paths[1]).close()
        self.assertEqual(self.told.files, [(7, 1), (7, 0)])


class Tracebacks(unittest.TestCase):
    def test_our_frames_are_cut_in_each_exception_of_a_chain(self) -> None:
        from batchmill_host.script import Script

        with tempfile.TemporaryDirectory() as folder:
            script = pathlib.Path(folder) / "chained.py"
            script.write_text(
                "def run(mini_batch):\n    try:\n        1 / 0\n    except ZeroDivisionError as error:\n"
                "        raise ValueError('later') from error\n"
            )
            self.addCleanup(sys.path.remove, folder)
            loaded = Script(folder, "chained.py")
            try:
                loaded._run([])
            except ValueError as error:
                try:
                    raise RuntimeError("last") from error
                except RuntimeError as outer:
                    failure = user_failure("SCORER_FAILED", outer)
        self.assertEqual(failure.message, "RuntimeError: last")
        self.assertEqual(failure.detail.count("Traceback (most recent call last)"), 3)
        self.assertNotIn("batchmill_host", failure.detail)
        self.assertLess(failure.detail.index("ZeroDivisionError"), failure.detail.index("ValueError: later"))

    def test_an_exception_without_text_and_one_whose_text_fails(self) -> None:
        class Odd(Exception):
            def __str__(self) -> str:
                raise RuntimeError("no text")

        failure = user_failure("SCORER_FAILED", Odd())
        self.assertEqual(failure.message, "Odd: (its text cannot be had: __str__ raised)")
        self.assertIn("Odd", failure.detail)


class ModelEnvironment(unittest.TestCase):
    def _model(self, **files: str) -> str:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        for name, text in files.items():
            (pathlib.Path(folder.name) / name.replace("__", ".")).write_text(text)
        return folder.name

    def test_versions_are_read_from_all_forms(self) -> None:
        folder = self._model(
            requirements__txt="mlflow\nNumPy==0.1.2 ; python_version > '3'\nscikit_learn[alldeps]==1.1.2\n# x==1\n",
            conda__yaml="dependencies:\n- python=3.8.5\n- pandas=0.25\n- pip:\n  - numpy==0.9\n",
            MLmodel="flavors:\n  xgboost:\n    xgb_version: 1.4.2\n",
        )
        found = {difference.package: (difference.saved, difference.found is not None) for difference in differences(folder)}
        self.assertEqual(found, {"numpy": ("0.1.2", True), "scikit-learn": ("1.1.2", False), "pandas": ("0.25", True), "xgboost": ("1.4.2", False)})
        self.assertEqual(wanted_packages(folder), ["mlflow", "NumPy==0.1.2", "scikit_learn[alldeps]==1.1.2"])

    def test_the_same_minor_version_is_no_difference(self) -> None:
        import numpy

        major, minor = numpy.__version__.split(".")[:2]
        self.assertEqual(differences(self._model(requirements__txt=f"numpy=={major}.{minor}.99\n")), [])

    def test_a_library_is_blamed_for_what_went_through_it(self) -> None:
        import numpy

        found = differences(self._model(requirements__txt="numpy==0.1\npandas==0.1\nxgboost==1.4.2\n"))
        try:
            numpy.linalg.norm(numpy.zeros((2, 2, 2)), ord=7)
            self.fail("numpy took it")
        except ValueError as error:
            self.assertEqual([difference.package for difference in blamed(found, error)], ["numpy"])
        self.assertEqual([difference.package for difference in blamed(found, ModuleNotFoundError("no", name="xgboost.core"))], ["xgboost"])
        self.assertEqual(blamed(found, ValueError("other")), [])


if __name__ == "__main__":
    unittest.main()

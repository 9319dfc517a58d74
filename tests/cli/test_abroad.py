"""What a machine has to do with others of its mesh: which options go together, and what they make of its processes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from trinity_cli.abroad import Abroad
from trinity_cli.certificate_folder import SERVICES, CertificateFolder
from trinity_cli.main import run
from trinity_cli.mesh_settings import MeshSettings
from trinity_cli.modes import PARTS, Mode
from trinity_cli.plan import Places, Role, Venues, roles
from trinity_mesh.clock import SystemClock
from trinity_mesh.config import ConfigError

FAR = {"price": "10.0.0.1:50051", "account": "10.0.0.1:50052", "usage": "10.0.0.1:50053", "webhook": "10.0.0.1:50055"}


@pytest.fixture
def certs(tmp_path: Path) -> Path:
    folder = CertificateFolder(tmp_path / "certs")
    folder.make(trust_domain="m.test", services=SERVICES, hosts=(), days=9, ca_days=99, now_ns=SystemClock().unix_ns())
    return folder.path


def planned(mode: Mode, abroad: Abroad, folder: Path) -> list[Role]:
    places = Places(
        data_dir=folder,
        sockets=folder / "run",
        http="127.0.0.1:8080",
        reports="127.0.0.1:9090",
        udp="127.0.0.1:2679",
        udp_reports="127.0.0.1:2680",
        grpc="",
        venue_ports={},
        control_port=0,
        postgres_url="postgresql:///trinity",
        valkey_url="redis://127.0.0.1/0",
        secrets_file=folder / "secrets.json",
        abroad=abroad,
    )
    return roles(places, parts=PARTS[mode], venues=Venues.LIVE, workers=1, seed=1, stores=())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--mode", "REPORT_SERVER", "--price", "10.0.0.1:1"), "--price is for mode APP_SERVER"),
        (("--mode", "SYNC", "--usage", "10.0.0.1:1"), "--usage is for mode"),
        (("--mode", "APP_SERVER", "--price", "10.0.0.1:1"), "10.0.0.1:1 is on another machine"),
        (("--mode", "APP_SERVER", "--mesh-host", "10.0.0.1"), "--mesh-host is for other machines"),
        (("--mode", "APP_SERVER", "--account", "unix:/x.sock"), "without its secrets no key is good here"),
    ],
)
def test_options_that_make_no_sense_together_are_told(
    words: Sequence[str],
    told: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("TRINITY_CERTS", raising=False)
    assert run(["serve", "--data-dir", str(tmp_path / "data"), *words]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "data").exists(), "nothing was begun"


def test_a_machine_that_finds_everything_elsewhere_has_gateways_and_no_stores(tmp_path: Path, certs: Path) -> None:
    abroad = Abroad(FAR, certs)
    (gateway,) = planned(Mode.APP_SERVER, abroad, tmp_path)
    assert {name: gateway.values[name] for name in ("price", "webhook")} == {n: FAR[n] for n in ("price", "webhook")}
    assert gateway.values["admission"]["account"] == FAR["account"]
    assert gateway.values["admission"]["usage"] == FAR["usage"]
    assert gateway.values["tls"]["cert_file"] == str(certs / "gateway.pem")
    assert "listen" not in gateway.values["tls"]
    assert gateway.depends_on == ()
    for mode, remotes, stores in (
        (Mode.APP_SERVER, FAR, False),
        (Mode.APP_SERVER, {"price": FAR["price"]}, True),
        (Mode.APP_REPORT_SERVER, FAR, True),
        (Mode.APP_REPORT_SERVER, {**FAR, "report": "10.0.0.1:50054"}, False),
        (Mode.WEBHOOK_SERVER, {"price": FAR["price"], "usage": FAR["usage"]}, True),
        (Mode.SYNC, {}, True),
    ):
        assert settings(mode, Abroad(remotes, certs), tmp_path).has_stores is stores, (mode, remotes)


def test_a_service_of_another_machine_takes_the_place_of_one_here_and_of_no_other(tmp_path: Path, certs: Path) -> None:
    names = [role.name for role in planned(Mode.APP_SERVER, Abroad({"usage": FAR["usage"]}, certs), tmp_path)]
    assert names == ["feeds", "price", "account", "webhook", "gateway-1"]
    names = [role.name for role in planned(Mode.WEBHOOK_SERVER, Abroad({"price": FAR["price"]}, certs), tmp_path)]
    assert names == ["account", "usage", "webhook", "webhook-worker"]


def test_every_part_of_a_machine_has_its_own_certificate_and_every_service_its_port(
    tmp_path: Path, certs: Path
) -> None:
    found = planned(Mode.APP_REPORT_SERVER, Abroad({}, certs, "10.0.0.1"), tmp_path)
    found += planned(Mode.WEBHOOK_SERVER, Abroad({}, certs, "10.0.0.1"), tmp_path)
    listens = {Path(role.values["tls"]["cert_file"]).stem: role.values["tls"].get("listen") for role in found}
    assert listens == {
        "price": "10.0.0.1:50051",
        "account": "10.0.0.1:50052",
        "usage": "10.0.0.1:50053",
        "report": "10.0.0.1:50054",
        "webhook": "10.0.0.1:50055",
        "feeds": "10.0.0.1:50061",
        "gateway": None,
        "webhook-worker": None,
    }
    assert Abroad({}, certs, "fd00::1").listen("price") == "[fd00::1]:50051"
    (certs / "usage.key").unlink()
    with pytest.raises(ConfigError, match=r"has no usage.key"):
        planned(Mode.APP_SERVER, Abroad({}, certs), tmp_path)


def test_a_machine_by_itself_has_no_tls(tmp_path: Path) -> None:
    assert not any("tls" in role.values for role in planned(Mode.APP_REPORT_SERVER, Abroad(), tmp_path))


def settings(mode: Mode, abroad: Abroad, folder: Path) -> MeshSettings:
    return MeshSettings(
        parts=PARTS[mode],
        host="127.0.0.1",
        http_port=0,
        report_port=0,
        udp_port=0,
        udp_report_port=0,
        grpc_port=None,
        data_dir=folder,
        secrets_file=None,
        workers=1,
        venues=Venues.LIVE,
        seed=1,
        ready_file=None,
        env=None,
        abroad=abroad,
    )

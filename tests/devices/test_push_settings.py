"""What an operator says about pushes is whole, and works, or the start says all that is wrong."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.errors import ConfigurationError
from gateway.settings import Settings, read_settings
from tests.fakes.apns_server import p8
from tests.fakes.fcm_server import FakeFcm

APNS = {
    "PAYONCE_PUSH_APNS_KEY": p8(),
    "PAYONCE_PUSH_APNS_KEY_ID": "ABC123DEFG",
    "PAYONCE_PUSH_APNS_TEAM_ID": "DEF123GHIJ",
    "PAYONCE_PUSH_APNS_TOPIC": "com.example.shop",
}


def key_file(**changes: str) -> str:
    fake = FakeFcm()
    fake.url = "https://oauth2.example"
    said = {**json.loads(fake.key_file()), **changes}
    return json.dumps({name: value for name, value in said.items() if value})


def faults(environ: dict[str, str]) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        read_settings(environ)
    return str(caught.value).splitlines()[1:]


def test_nothing_is_set_up_by_default() -> None:
    settings = Settings()
    said = (settings.push_fcm_credentials, settings.push_apns_key, settings.push_jpush_app_key)
    assert said == (None, None, None)


def test_keys_are_read_from_files(tmp_path: Path) -> None:
    (tmp_path / "fcm.json").write_text(key_file())
    (tmp_path / "AuthKey.p8").write_text(p8())
    environ = {
        **APNS,
        "PAYONCE_PUSH_FCM_CREDENTIALS": f"@{tmp_path}/fcm.json",
        "PAYONCE_PUSH_APNS_KEY": f"@{tmp_path}/AuthKey.p8",
    }
    settings = read_settings(environ)
    assert (settings.push_fcm_credentials, settings.push_apns_key) == (key_file(), p8())


def test_all_that_is_missing_and_wrong_is_said_at_once(tmp_path: Path) -> None:
    said = faults(
        {
            "PAYONCE_PUSH_FCM_CREDENTIALS": f"@{tmp_path}/nowhere.json",
            "PAYONCE_PUSH_APNS_KEY": p8(),
            "PAYONCE_PUSH_APNS_URL": "api.push.apple.com",
            "PAYONCE_PUSH_JPUSH_APP_KEY": "7d431e42dfa6a6d693ac2d04",
        }
    )
    assert [line.split()[1] for line in said] == [
        "PAYONCE_PUSH_FCM_CREDENTIALS",
        "PAYONCE_PUSH_APNS_URL",
        "PAYONCE_PUSH_APNS_KEY_ID",
        "PAYONCE_PUSH_APNS_TEAM_ID",
        "PAYONCE_PUSH_APNS_TOPIC",
        "PAYONCE_PUSH_JPUSH_MASTER_SECRET",
    ]
    assert "No such file" in said[0]
    assert said[-1].endswith("is not set, and PAYONCE_PUSH_JPUSH_APP_KEY needs it")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("nonsense", "is no service account's key file"),
        (key_file(project_id=""), "`project_id`"),
        (key_file(private_key=p8()), "`private_key` is no RSA key"),
        (key_file(private_key="nonsense"), "`private_key` is no RSA key"),
        (key_file(token_uri="file:///etc/passwd"), "`token_uri` is no http(s) URL"),
    ],
)
def test_a_key_file_of_firebase_that_cannot_sign_is_found_at_the_start(
    text: str, what: str
) -> None:
    [said] = faults({"PAYONCE_PUSH_FCM_CREDENTIALS": text})
    assert what in said
    assert "PRIVATE KEY" not in said


def test_a_key_that_apple_would_not_take_is_found_at_the_start() -> None:
    longer = ec.generate_private_key(ec.SECP384R1())
    pem = longer.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    for key in (pem, "nonsense"):
        [said] = faults({**APNS, "PAYONCE_PUSH_APNS_KEY": key})
        assert "is no P-256 key in PEM" in said
        assert "BEGIN" not in said


def test_apns_without_http_2_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_settings(APNS).push_apns_topic == "com.example.shop"
    monkeypatch.setattr("gateway.push_settings.find_spec", lambda _name: None)
    assert "payonce[push]" in faults(APNS)[0]

"""The client that a training run's environment describes."""

import asyncio

import pytest

from rbr_trainer.address import Address
from rbr_trainer.client import Client
from rbr_trainer.errors import InputError, Unavailable

from .replica import VERSION, free_port


def test_the_environment_says_whom_to_ask() -> None:
    made = Client.from_environment(
        {
            "RBR_REWARD_URL": " http://a:1/get_reward, http://me:from-url@b:2/p/score ,",
            "RBR_REWARD_PATIENCE": "12.5",
            "RBR_REWARD_VERSION": VERSION,
        }
    )
    assert made.addresses == (Address("http://a:1"), Address("http://b:2/p", "from-url"))
    assert made.version == VERSION
    with_key = Client.from_environment(
        {"RBR_REWARD_URL": "http://me:x@a:1", "RBR_API_KEY": "from-environment"}
    )
    assert with_key.addresses == (Address("http://a:1", "from-environment"),)
    assert with_key.version is None
    assert "from-environment" not in repr(with_key.addresses)


def test_the_patience_of_the_environment_is_kept() -> None:
    environ = {"RBR_REWARD_URL": f"http://127.0.0.1:{free_port()}", "RBR_REWARD_PATIENCE": "0"}

    async def ask() -> None:
        async with Client.from_environment(environ) as calls:
            await calls.get("/readyz")

    with pytest.raises(Unavailable, match="start it with `rbr serve`"):  # so it was one try
        asyncio.run(ask())


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({}, "RBR_REWARD_URL is not set"),
        ({"RBR_REWARD_URL": " , "}, "RBR_REWARD_URL is not set"),
        ({"RBR_REWARD_URL": "http://a,ftp://me:secret@b"}, "RBR_REWARD_URL: number 2 of 2 is not the URL"),
        ({"RBR_REWARD_URL": "http://a b"}, "RBR_REWARD_URL: number 1 of 1"),
        ({"RBR_REWARD_URL": "http://a:b"}, "RBR_REWARD_URL: number 1 of 1"),
        ({"RBR_REWARD_URL": "http://a", "RBR_API_KEY": "secret\n"}, "has a key that no HTTP header can hold"),
        ({"RBR_REWARD_URL": "http://a", "RBR_REWARD_PATIENCE": "long"}, "RBR_REWARD_PATIENCE: 'long'"),
        ({"RBR_REWARD_URL": "http://a", "RBR_REWARD_PATIENCE": "-1"}, "RBR_REWARD_PATIENCE: '-1'"),
        ({"RBR_REWARD_URL": "http://a", "RBR_REWARD_PATIENCE": "nan"}, "RBR_REWARD_PATIENCE: 'nan'"),
    ],
)
def test_an_environment_that_is_wrong(environ: dict[str, str], told: str) -> None:
    with pytest.raises(InputError) as caught:
        Client.from_environment(environ)
    assert told in str(caught.value)
    assert "secret" not in str(caught.value)

"""One spelling per node address, and no way to where a node must not be."""

import ipaddress

import pytest

from shared.addresses import (
    DEFAULT_ALLOWED_NETWORKS,
    AddressFault,
    AddressPolicy,
    InvalidAddressError,
    normalise,
)

POLICY = AddressPolicy.parse(tuple(DEFAULT_ALLOWED_NETWORKS.split(",")), frozenset({6379}))
EVERYWHERE = AddressPolicy.parse(("0.0.0.0/0", "::/0"), frozenset())


@pytest.mark.parametrize(
    ("text", "port", "url"),
    [
        ("gpu1", None, "http://gpu1:11434"),
        ("GPU1.Example", 8080, "http://gpu1.example:8080"),
        ("http://gpu1", None, "http://gpu1:80"),
        ("https://gpu1/ollama/", None, "https://gpu1:443/ollama"),
        ("10.0.0.7:11434", 11_434, "http://10.0.0.7:11434"),
        ("::1", None, "http://[::1]:11434"),
        ("http://[FD00:0::1]:99/", None, "http://[fd00::1]:99"),
    ],
)
def test_an_address_has_one_spelling(text: str, port: int | None, url: str) -> None:
    """C10."""
    address = normalise(text, port)
    assert address.url == url
    assert normalise(address.url) == address


@pytest.mark.parametrize(
    "text",
    ["", "127.1", "2130706433", "0x7f.1", "0x7f000001", "017700000001", "1.2.3.4.5", "localhost.",
     "http://u@h:1", "http://u:p@h:1", "http://h:1#f", "http://h:1?q", "http://h:", "file:///etc",
     "gopher://h", "unix:/x", "ftp://h", "http://h\r\n:1", "http://a b", "http://exämple:1",
     "http://[::ffff:169.254.169.254]:1", "http://[64:ff9b::a9fe:a9fe]:1", "http://[2002:a9fe:a9fe::]:1",
     "http://[fe80::1%25eth0]:1", "http://h:1/../x", "http://h:1/a//b", "http://h:x", "h" * 600,
     "http://h:1\\@evil", "http://[::1", "http://-h:1"],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    """C10, C11."""
    with pytest.raises(InvalidAddressError) as caught:
        normalise(text)
    assert caught.value.fault is AddressFault.INVALID


@pytest.mark.parametrize("port", [0, 65_536, -1])
def test_a_port_out_of_range_is_refused(port: int) -> None:
    """C12."""
    with pytest.raises(InvalidAddressError) as caught:
        normalise("h", port)
    assert caught.value.fault is AddressFault.PORT


def test_a_port_out_of_range_within_the_address_is_refused_as_a_port() -> None:
    with pytest.raises(InvalidAddressError) as caught:
        normalise("http://h:65536")
    assert caught.value.fault is AddressFault.PORT


def test_two_different_ports_are_refused() -> None:
    with pytest.raises(InvalidAddressError, match="two different ports"):
        normalise("http://h:1", 2)


@pytest.mark.parametrize(
    "ip", ["127.0.0.1", "::1", "10.1.2.3", "192.168.0.1", "172.31.0.1", "fd12::1"]
)
def test_private_and_loopback_addresses_pass_by_default(ip: str) -> None:
    POLICY.check(ipaddress.ip_address(ip), 11_434)


@pytest.mark.parametrize("ip", ["8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8"])
def test_public_addresses_need_the_allow_list(ip: str) -> None:
    """C09, S25."""
    with pytest.raises(InvalidAddressError, match="AIVONX_NODE_ALLOWED_CIDRS"):
        POLICY.check(ipaddress.ip_address(ip), 11_434)
    EVERYWHERE.check(ipaddress.ip_address(ip), 11_434)


@pytest.mark.parametrize(
    "ip",
    ["169.254.169.254", "169.254.1.1", "169.254.170.2", "100.100.100.200", "168.63.129.16",
     "192.0.0.192", "0.0.0.0", "0.1.2.3", "224.0.0.1", "255.255.255.255", "240.0.0.1", "::",
     "ff02::1",
     "fe80::1", "fd00:ec2::254", "fd00:ec2::23", "fd00:c1::a9fe:a9fe", "fd20:ce::254",
     "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe",
     "2002:a9fe:a9fe::1"],
)  # fmt: skip
def test_metadata_and_its_kin_are_refused_whatever_the_allow_list(ip: str) -> None:
    """C09, S25."""
    with pytest.raises(InvalidAddressError) as caught:
        EVERYWHERE.check(ipaddress.ip_address(ip), 11_434)
    assert caught.value.fault is AddressFault.NOT_ALLOWED


def test_our_own_ports_on_this_machine_are_refused() -> None:
    """C12, S27."""
    with pytest.raises(InvalidAddressError) as caught:
        POLICY.check(ipaddress.ip_address("127.0.0.1"), 6379)
    assert caught.value.fault is AddressFault.PORT
    POLICY.check(ipaddress.ip_address("10.0.0.1"), 6379)

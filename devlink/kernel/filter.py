"""A filter in the kernel for what a monitor is told (classic BPF, linux/filter.h): what it drops wakes nobody."""

import ctypes
import socket
import struct
from collections.abc import Sequence
from typing import NamedTuple

from devlink.core.network import METRIC, PROTOCOL
from devlink.kernel.links import IFA_CACHEINFO, RTM_NEWADDR
from devlink.kernel.netlink import NLM_F_REPLACE
from devlink.kernel.rtnetlink import RTA_PRIORITY, RTM_DELROUTE, RTM_NEWROUTE

SO_ATTACH_FILTER = 26
BPF_LDX_MEM, BPF_LD_B_ABS, BPF_LD_H_ABS, BPF_LD_W_ABS = 0x61, 0x30, 0x28, 0x20
BPF_LD_IMM, BPF_LDX_IMM, BPF_LD_W_IND, BPF_JEQ_K, BPF_JSET_K, BPF_JEQ_X, BPF_RET_K, BPF_TAX, BPF_ST = (
    0x00, 0x01, 0x40, 0x15, 0x45, 0x1D, 0x06, 0x07, 0x02,
)  # fmt: skip
SKF_AD_NLATTR = 0xFFFFF000 + 12
"""SKF_AD_OFF + SKF_AD_NLATTR: where from offset A the attribute of type X is; 0 for nowhere."""
ALL = 0xFFFFFFFF

NLMSG_TYPE, NLMSG_FLAGS = 4, 6
RTM_DST_LEN, RTM_PROTOCOL, RTMSG_END = 16 + 1, 16 + 5, 16 + 12
"""Offsets in a message: nlmsghdr has 16 octets, `struct rtmsg` follows."""
IFADDRMSG_END = 16 + 8
ATTRIBUTE_VALUE = 4
"""Offset in an attribute."""
CSTAMP, TSTAMP = 4 + 8, 4 + 12
"""Offsets in the attribute IFA_CACHEINFO (struct ifa_cacheinfo): when the address was made, and when last renewed."""

_SOCK_FILTER = struct.Struct("=HBBI")


class Step(NamedTuple):
    """One instruction; a jump names the label of its target, and nothing for the next step."""

    code: int
    k: int = 0
    then: str = ""
    otherwise: str = ""
    label: str = ""


def only_what_matters() -> bytes:
    """The program that passes all but routes of other programs that are no default routes and take no place that may be
    ours, and addresses that are told anew: IPv6 router advertisements and DHCP do so every few seconds or minutes.

    Who replaces a route of ours in its place (NLM_F_REPLACE does not compare the protocol) is told of as the owner of
    the new one, and no deletion of ours is told; that it has our metric is what tells it from a routing daemon's work,
    and so it does when the place is given back.
    """
    # Numbers of 16 and 32 bits are read in network order, and netlink writes the machine's.
    route, gone, address = (socket.htons(kind) for kind in (RTM_NEWROUTE, RTM_DELROUTE, RTM_NEWADDR))
    return assemble(
        [
            Step(BPF_LD_H_ABS, NLMSG_TYPE),
            Step(BPF_JEQ_K, route, "route"),
            Step(BPF_JEQ_K, gone, "route"),
            Step(BPF_JEQ_K, address, "address", "pass"),
            Step(BPF_LD_B_ABS, RTM_DST_LEN, label="route"),
            Step(BPF_JEQ_K, 0, "pass"),
            Step(BPF_LD_B_ABS, RTM_PROTOCOL),
            Step(BPF_JEQ_K, PROTOCOL, "pass"),
            Step(BPF_LD_H_ABS, NLMSG_TYPE),
            Step(BPF_JEQ_K, gone, "metric"),
            Step(BPF_LD_H_ABS, NLMSG_FLAGS),
            Step(BPF_JSET_K, socket.htons(NLM_F_REPLACE), "", "drop"),
            Step(BPF_LD_IMM, RTMSG_END, label="metric"),
            Step(BPF_LDX_IMM, RTA_PRIORITY),
            Step(BPF_LD_W_ABS, SKF_AD_NLATTR),
            Step(BPF_JEQ_K, 0, "drop"),
            Step(BPF_TAX),
            Step(BPF_LD_W_IND, ATTRIBUTE_VALUE),
            Step(BPF_JEQ_K, socket.htonl(METRIC), "pass", "drop"),
            Step(BPF_LD_IMM, IFADDRMSG_END, label="address"),
            Step(BPF_LDX_IMM, IFA_CACHEINFO),
            Step(BPF_LD_W_ABS, SKF_AD_NLATTR),
            Step(BPF_JEQ_K, 0, "pass"),
            Step(BPF_TAX),
            Step(BPF_LD_W_IND, TSTAMP),
            Step(BPF_ST, 0),
            Step(BPF_LD_W_IND, CSTAMP),
            Step(BPF_LDX_MEM, 0),
            Step(BPF_JEQ_X, 0, "pass", "drop"),
            Step(BPF_RET_K, ALL, label="pass"),
            Step(BPF_RET_K, 0, label="drop"),
        ]
    )


def assemble(steps: Sequence[Step]) -> bytes:
    """The program as octets (struct sock_filter)."""
    labels = {step.label: place for place, step in enumerate(steps)}
    octets = b""
    for place, step in enumerate(steps):
        there, else_ = (labels[label] - place - 1 if label else 0 for label in (step.then, step.otherwise))
        octets += _SOCK_FILTER.pack(step.code, there, else_, step.k)
    return octets


def attach(sock: socket.socket, program: bytes) -> None:
    """Have `sock` given only what the program passes. Raises OSError."""
    octets = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: the number of instructions, and where they are.
    sock.setsockopt(
        socket.SOL_SOCKET,
        SO_ATTACH_FILTER,
        struct.pack("@HP", len(program) // _SOCK_FILTER.size, ctypes.addressof(octets)),
    )

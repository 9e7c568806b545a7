"""From an Access to the TLS that its API is asked by. No private key touches a disk of ours."""

import os
import ssl

from devlink.cluster.access import Access, Credentials
from devlink.errors import UsageError


def context(access: Access, credentials: Credentials) -> ssl.SSLContext:
    """What the API's certificate is checked with, and the client's own certificate. Raises UsageError.

    The name that the certificate is checked for comes with the connection (`Access.server_name`).
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    # As client-go: what a kubeconfig names is trusted, be it an intermediate CA; a name stands in subjectAltName only.
    made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    made.hostname_checks_common_name = False
    if access.insecure:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    elif access.ca is None:
        made.load_default_certs()
    else:
        try:
            made.load_verify_locations(cadata=access.ca)
        except (ssl.SSLError, ValueError) as error:
            raise UsageError(
                f"The CA of {access.name} is damaged.",
                why=f"certificate-authority holds no PEM certificate: {getattr(error, 'reason', '') or error}.",
                next_step="Write it anew: kubectl config set-cluster NAME --certificate-authority=FILE --embed-certs",
            ) from None
    if credentials.certificate:
        _load_client_certificate(made, access, credentials)
    return made


def _load_client_certificate(made: ssl.SSLContext, access: Access, credentials: Credentials) -> None:
    """ssl takes certificate and key by a path only: here that of memory which nobody else can open."""
    descriptor = os.memfd_create("client-certificate", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(f"{credentials.certificate}\n{credentials.key}\n".encode())
        made.load_cert_chain(f"/proc/self/fd/{descriptor}", password=_no_password)
    except (ssl.SSLError, OSError, ValueError) as error:
        raise UsageError(
            f"The client certificate of {access.name} cannot be used.",
            why=f"Certificate and key do not fit, or one is damaged or encrypted: {getattr(error, 'reason', error)}.",
            next_step="See: kubectl config view",
        ) from None
    finally:
        os.close(descriptor)


def _no_password() -> str:
    raise ValueError("the key is encrypted")  # else OpenSSL would ask at the terminal

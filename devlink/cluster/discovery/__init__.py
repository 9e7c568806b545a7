"""From the objects of a cluster's API to its profile, with the source of each fact and with findings. PURE.

Two floors: `objects`, `kubernetes`, `calico`, `flannel`, `cilium` read what the API says into a typed `Cluster` and
choose nothing; `pods`, `services`, `dns`, `nodes`, `gateways`, `overlay` choose facts from it, by tables of sources,
and `diagnosis` is a table of what will not work. `discovering` puts them together.
"""

from devlink.cluster.discovery.discovering import discover as discover
from devlink.cluster.discovery.discovering import discover_nodes as discover_nodes
from devlink.cluster.discovery.discovering import knows_services as knows_services
from devlink.cluster.discovery.documents import documents_in as documents_in
from devlink.cluster.discovery.documents import objects_in as objects_in
from devlink.cluster.discovery.result import Discovery as Discovery
from devlink.cluster.discovery.result import Unread as Unread
from devlink.cluster.discovery.result import Wishes as Wishes

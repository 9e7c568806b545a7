"""The cluster's API: how it is reached and as whom, what a profile is found from, how one is published and fetched."""

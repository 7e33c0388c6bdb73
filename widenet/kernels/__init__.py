"""The kernel reading: infinite width."""

"""Ground-truth simulators under the contract of `biowm.core.world`."""

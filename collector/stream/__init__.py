"""Pure work on events: sequencing, conflating, batching and the policy of pressure. No I/O."""

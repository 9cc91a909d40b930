"""What users do: one function for each verb, the same behind every door."""

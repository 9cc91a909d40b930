"""The onboarding example: a workflow and the small company that it works on."""

"""The workflow language: Open Workflow Specification DSL 1.0.3, read, checked and interpreted."""

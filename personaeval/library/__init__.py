"""What there is to run: tasks, personas, and the sources of their items.

    registry = Registry(include=[Path("my_folder")])
    personas = registry.personas(["core", "people.yaml/pirate"])
    for task, file in registry.tasks("math"):
        items = load_items(task, file, data=None, limit=100, seed=0)

``Registry`` is in ``registry``, ``load_items`` in ``sources``. Tasks and personas are YAML files, read as pydantic
models (``tasks``, ``personas``).
"""

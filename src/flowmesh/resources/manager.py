"""`ResourceManager`: the resources of one task, by container, kind and name."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import ClassVar, TypeVar, cast

from flowmesh.core import errors

DEFAULT_CONTAINER = "localhost"


class Resource:
    """Something with a name that ops of several steps share."""

    type_name: ClassVar[str] = "Resource"
    """What error messages call this kind of resource; classes of one kind share it."""

    def release(self) -> None:
        """Called once, when the resource leaves its manager: fails whatever waits on it."""


R = TypeVar("R", bound=Resource)


class ResourceManager:
    """Named resources in named containers (TensorFlow: `ResourceMgr`). Thread-safe.

    A name is unique within its container and `kind`, a `Resource` class or its base: a variable and a
    queue may have the same one. An empty container name means the default container.
    """

    def __init__(self, default_container: str = DEFAULT_CONTAINER):
        self._default = default_container
        self._lock = threading.Lock()
        self._containers: dict[str, dict[tuple[str, str], Resource]] = {}
        self.generation = 0
        """Counts removals: as long as it stays the same, a name means the resource that was found under it."""

    @property
    def default_container(self) -> str:
        """The container meant when none is named."""
        return self._default

    def lookup_or_create(
        self, container: str, name: str, kind: type[R], factory: Callable[[], R]
    ) -> R:
        """The resource of this name, made by `factory` if there is none.

        The factory runs under the manager's lock: it must be quick and not come back here.
        """
        with self._lock:
            resources = self._containers.setdefault(container or self._default, {})
            key = (kind.type_name, name)
            resource = resources.get(key)
            if resource is None:
                resource = resources[key] = factory()
            return cast(R, resource)

    def lookup(self, container: str, name: str, kind: type[R]) -> R:
        """The resource of this name; NotFoundError if there is none."""
        container = container or self._default
        with self._lock:
            resource = self._containers.get(container, {}).get((kind.type_name, name))
            if resource is None:
                raise self._not_found(container, name, kind)
            return cast(R, resource)

    def delete(self, container: str, name: str, kind: type[Resource]) -> None:
        """Removes and releases one resource; NotFoundError if there is none."""
        container = container or self._default
        with self._lock:
            resources = self._containers.get(container, {})
            resource = resources.pop((kind.type_name, name), None)
            self.generation += 1
            if resource is None:
                raise self._not_found(container, name, kind)
        resource.release()

    def clear(self, containers: Iterable[str] = ()) -> None:
        """Removes and releases all that these containers hold; the default one if none is named."""
        names = [name or self._default for name in containers] or [self._default]
        with self._lock:
            self.generation += 1
            gone = [r for name in names for r in self._containers.pop(name, {}).values()]
        for resource in gone:
            resource.release()

    def clear_all(self) -> None:
        """Removes and releases everything, when the task ends."""
        with self._lock:
            containers = list(self._containers)
        self.clear(containers or [self._default])

    def names(self, container: str = "", kind: type[Resource] | None = None) -> list[str]:
        """The names in a container, sorted, of all kinds or of one."""
        with self._lock:
            keys = list(self._containers.get(container or self._default, {}))
        return sorted(
            name for type_name, name in keys if kind is None or kind.type_name == type_name
        )

    def containers(self) -> list[str]:
        """The names of the containers that were used, sorted."""
        with self._lock:
            return sorted(self._containers)

    def _not_found(self, container: str, name: str, kind: type[Resource]) -> errors.NotFoundError:
        if container not in self._containers:
            return errors.NotFoundError(
                None,
                None,
                f"Container {container} does not exist. (Could not find resource: {container}/{name})",
            )
        return errors.NotFoundError(
            None, None, f"Resource {container}/{name}/{kind.type_name} does not exist."
        )

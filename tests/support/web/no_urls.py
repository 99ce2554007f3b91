"""The URLs of a site without ours."""

urlpatterns: list[object] = []

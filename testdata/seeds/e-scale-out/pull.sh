docker pull registry.example.org/fedora

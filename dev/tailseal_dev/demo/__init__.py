"""The whole story on a real control plane: refused, trusted, exchanged, rotated, withdrawn; measured and checked."""

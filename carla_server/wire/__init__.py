"""Bytes of CARLA's protocol: MessagePack-RPC calls, streams, and the binary layouts they carry. Owns no socket."""

package import MeshCore

extension SessionMesh {
    /// A commit as it is, for what else this package keeps in the mesh under keys of its own.
    package func send(_ commit: SessionCommit) async throws(SessionError) -> ClientResponse { try await link.request(.commit(commit)) }
}

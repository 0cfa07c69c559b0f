/// A session as it is held and as a reader may see it.
struct SessionReading {
    let key: SessionKey
    let state: SessionState
    let idleSeconds: UInt32
    let expiresAt: Int64
    let primary: NodeName
    let backup: NodeName?

    var snapshot: SessionSnapshot {
        var snapshot = head
        snapshot.fields = state.visibleFields
        return snapshot
    }

    /// All but the fields.
    var head: SessionSnapshot {
        SessionSnapshot(
            key: key, createdAt: state.created.milliseconds, accessedAt: state.accessedAt, idleSeconds: idleSeconds, expiresAt: expiresAt,
            user: state.user, fields: [], primary: primary, backup: backup)
    }
}

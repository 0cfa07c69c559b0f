/// A session as it is held and as a reader may see it.
struct SessionReading {
    let head: SessionHead
    let fields: FieldList

    var snapshot: SessionSnapshot {
        SessionSnapshot(
            key: head.key, createdAt: head.createdAt, accessedAt: head.accessedAt, idleSeconds: head.idleSeconds, expiresAt: head.expiresAt,
            user: head.user, fields: fields.visible, primary: head.primary, backup: head.backup)
    }
}

/// All of a ``SessionSnapshot`` but the fields.
struct SessionHead {
    let key: SessionKey
    let createdAt: Int64
    let accessedAt: Int64
    let idleSeconds: UInt32
    let expiresAt: Int64
    let user: String
    let primary: NodeName
    let backup: NodeName?
}

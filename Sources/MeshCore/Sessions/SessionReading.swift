/// A session as it is held and as a reader may see it.
struct SessionReading {
    /// All but the fields.
    let head: SessionSnapshot
    let fields: FieldList

    var snapshot: SessionSnapshot {
        var snapshot = head
        snapshot.fields = fields.visible
        return snapshot
    }
}

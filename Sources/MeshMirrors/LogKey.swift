/// Keys of the metadata that mirrors log.
enum LogKey {
    static let mirror = "mirror"
    static let reason = "reason"
}

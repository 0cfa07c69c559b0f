/// What two agents must share to speak at all.
enum MeshProtocol {
    /// Of packets, gossip messages, peer links and what goes over them, together: raised when any of them changes in a way that an older
    /// agent would misread. Packet and hello carry it in the clear, so that another version is refused at the door, with a reason of its
    /// own, before anything of it is believed. At most 63.
    static let version: UInt8 = 1
}

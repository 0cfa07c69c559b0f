import OrderedCollections

/// Who listens to what on this agent, and the positions of channels this agent sequences.
struct ChannelRegistry: Sendable {
    private var subscribers: [String: [ClientID]] = [:]
    private var subscriptions: [ClientID: [String]] = [:]
    private var positions: OrderedDictionary<String, ChannelPosition> = [:]

    /// Channels whose position is remembered. The one begun longest ago is forgotten first; should it be used again, it starts a
    /// new epoch, which tells its subscribers that they may have missed something.
    static let positionsMax = 65_536
    /// Channels one client may listen to.
    static let subscriptionsMax = 1024

    /// False when the client listens to as many channels as it may.
    mutating func subscribe(_ client: ClientID, to channel: String) -> Bool {
        let channels = subscriptions[client] ?? []
        if channels.contains(channel) { return true }
        guard channels.count < Self.subscriptionsMax else { return false }
        subscriptions[client, default: []].append(channel)
        subscribers[channel, default: []].append(client)
        return true
    }

    mutating func unsubscribe(_ client: ClientID, from channel: String) {
        subscriptions[client]?.removeAll { $0 == channel }
        forget(client, in: channel)
    }

    mutating func remove(_ client: ClientID) {
        for channel in subscriptions.removeValue(forKey: client) ?? [] { forget(client, in: channel) }
    }

    private mutating func forget(_ client: ClientID, in channel: String) {
        subscribers[channel]?.removeAll { $0 == client }
        if subscribers[channel]?.isEmpty ?? false { subscribers[channel] = nil }
    }

    func subscribers(of channel: String) -> [ClientID] {
        subscribers[channel] ?? []
    }

    /// The position of the next message of a channel. An epoch is drawn by chance, so that two sequencers of one channel, on two
    /// sides of a cut, can't be mistaken for each other.
    mutating func next(in channel: String, using generator: inout SeededGenerator) -> ChannelPosition {
        var position = positions[channel] ?? ChannelPosition(epoch: generator.next(), offset: 0)
        position.offset += 1
        if positions.updateValue(position, forKey: channel) == nil, positions.count > Self.positionsMax { positions.removeFirst() }
        return position
    }
}

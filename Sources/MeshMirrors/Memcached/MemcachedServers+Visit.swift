#if Memcached
    import Crypto
    import MeshCore

    extension MemcachedServers {
        private static let generationMagic = "SMG\u{1}"
        private static let visitMagic = "SMV\u{1}"

        /// Visits every server. Both values may be evicted like any other, and then it looks as if the server had been emptied, as it has been in
        /// part.
        func visit(_ number: UInt64, by name: NodeName) throws(MirrorError) -> MirrorVisit {
            var visits: [(place: String, visit: MirrorVisit)] = []
            for (server, place) in configuration.address.servers.enumerated() {
                visits.append(("\(place)", try visit(number, by: name, on: server)))
            }
            let lasts = visits.map(\.visit.last)
            let last = lasts.contains(nil) ? nil : lasts.compactMap(\.self).min()
            guard visits.count > 1 else { return MirrorVisit(generation: visits.first?.visit.generation ?? 0, last: last) }
            // One number that is another when any of them is, whatever the order in which this agent names the servers.
            var all: [UInt8] = []
            for (place, visit) in visits.sorted(by: { $0.place < $1.place }) {
                all += place.utf8
                all.append(bigEndian: visit.generation)
            }
            return MirrorVisit(generation: Array(SHA256.hash(data: all)).prefix(8).number, last: last)
        }

        private func visit(_ number: UInt64, by name: NodeName, on server: Int) throws(MirrorError) -> MirrorVisit {
            var visit = MirrorVisit(generation: 0, last: nil)
            let names = Array("\(name)".utf8)
            _ = try change(["sm:g", "sm:n:\(name)"], on: server) { index, item throws(MirrorError) in
                var body: [UInt8] = []
                if index == 0 {
                    guard let item else {
                        visit.generation = .random(in: 1 ... .max)
                        body.append(bigEndian: visit.generation)
                        return .store(MemcachedValue.sealed(body, as: Self.generationMagic), expiry: MemcachedExpiry.never)
                    }
                    guard let generation = MemcachedValue.opened(item.value, as: Self.generationMagic), generation.count == 8 else {
                        throw .foreign("what is under sm:g")
                    }
                    visit.generation = generation.number
                    return .keep
                }
                visit.last = nil
                if let item {
                    guard var last = MemcachedValue.opened(item.value, as: Self.visitMagic),
                        last.take(names.count)?.elementsEqual(names) == true,
                        last.count == 8
                    else { throw .foreign("what is under sm:n:\(name)") }
                    visit.last = last.number
                }
                body += names
                body.append(bigEndian: number)
                return .store(MemcachedValue.sealed(body, as: Self.visitMagic), expiry: MemcachedExpiry.never)
            }
            return visit
        }
    }
#endif

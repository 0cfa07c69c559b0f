import Crypto

/// AES-256-GCM with a counter for a nonce, and HKDF-SHA256: with the challenge's HMAC, the only ways in which the wire uses a secret.
enum AEAD {
    static func derive(from key: GossipKey, salt: [UInt8], info: [UInt8]) -> SymmetricKey {
        HKDF<SHA256>.deriveKey(inputKeyMaterial: SymmetricKey(data: key.secret), salt: salt, info: info, outputByteCount: 32)
    }

    /// Ciphertext and tag. Nil can't happen with a 32-byte key and a 12-byte nonce, but the library's signature allows it.
    static func seal(_ plain: [UInt8], key: SymmetricKey, counter: UInt64, associated: [UInt8]) -> [UInt8]? {
        guard let nonce = nonce(counter), let box = try? AES.GCM.seal(plain, using: key, nonce: nonce, authenticating: associated) else {
            return nil
        }
        var sealed = [UInt8]()
        sealed.reserveCapacity(plain.count + PacketSealer.tagBytes)
        sealed.append(contentsOf: box.ciphertext)
        sealed.append(contentsOf: box.tag)
        return sealed
    }

    /// The plaintext, or nil when the seal doesn't hold.
    static func open(_ sealed: ArraySlice<UInt8>, key: SymmetricKey, counter: UInt64, associated: [UInt8]) -> [UInt8]? {
        guard sealed.count >= PacketSealer.tagBytes, let nonce = nonce(counter),
            let box = try? AES.GCM.SealedBox(
                nonce: nonce, ciphertext: sealed.dropLast(PacketSealer.tagBytes), tag: sealed.suffix(PacketSealer.tagBytes)),
            let plain = try? AES.GCM.open(box, using: key, authenticating: associated)
        else { return nil }
        return Array(plain)
    }

    private static func nonce(_ counter: UInt64) -> AES.GCM.Nonce? {
        var bytes = ByteWriter(reserving: 12)
        bytes.write(0 as UInt32)
        bytes.write(counter)
        return try? AES.GCM.Nonce(data: bytes.bytes)
    }
}

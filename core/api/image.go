package api

import (
	"context"

	"connectrpc.com/connect"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
	"github.com/sero-labs/sero-runtime/core/image"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// imageHandler serves ImageService.
type imageHandler struct{ images *image.Images }

// BuildImage builds an image.
func (h imageHandler) BuildImage(ctx context.Context, r *apipb.BuildImageRequest, stream *connect.ServerStream[apipb.BuildImageResponse]) error {
	options := image.BuildOptions{
		Reference: r.GetReference(), ContextDir: r.GetDirectory(), Dockerfile: r.GetDockerfile(), Args: r.GetArgs(), NoCache: r.GetNoCache(),
	}
	built, err := h.images.Build(ctx, r.GetDriver(), options, func(p driver.Progress) {
		_ = stream.Send(&apipb.BuildImageResponse{Step: &apipb.BuildImageResponse_Progress{Progress: progress(p)}}) // a caller that is gone ends ctx
	})
	if err != nil {
		return err
	}
	return stream.Send(&apipb.BuildImageResponse{Step: &apipb.BuildImageResponse_Image{Image: imageMessage(built)}})
}

// PullImage pulls an image.
func (h imageHandler) PullImage(ctx context.Context, r *apipb.PullImageRequest, stream *connect.ServerStream[apipb.PullImageResponse]) error {
	pulled, err := h.images.Pull(ctx, r.GetDriver(), r.GetReference(), func(p driver.Progress) {
		_ = stream.Send(&apipb.PullImageResponse{Step: &apipb.PullImageResponse_Progress{Progress: progress(p)}}) // a caller that is gone ends ctx
	})
	if err != nil {
		return err
	}
	return stream.Send(&apipb.PullImageResponse{Step: &apipb.PullImageResponse_Image{Image: imageMessage(pulled)}})
}

// ListImages lists the images that sero built.
func (h imageHandler) ListImages(ctx context.Context, r *apipb.ListImagesRequest) (*apipb.ListImagesResponse, error) {
	list, err := h.images.List(ctx, r.GetDriver())
	if err != nil {
		return nil, err
	}
	out := &apipb.ListImagesResponse{}
	for _, s := range list {
		out.Images = append(out.Images, imageMessage(s))
	}
	return out, nil
}

// RemoveImage removes an image that sero built.
func (h imageHandler) RemoveImage(ctx context.Context, r *apipb.RemoveImageRequest) (*apipb.RemoveImageResponse, error) {
	return &apipb.RemoveImageResponse{}, h.images.Remove(ctx, r.GetDriver(), r.GetReference(), r.GetForce())
}

// GetImage looks an image up.
func (h imageHandler) GetImage(ctx context.Context, r *apipb.GetImageRequest) (*apipb.GetImageResponse, error) {
	status, err := h.images.Status(ctx, r.GetDriver(), r.GetReference())
	if err != nil {
		return nil, err
	}
	return &apipb.GetImageResponse{Image: imageMessage(status)}, nil
}

func imageMessage(s image.Status) *apipb.Image {
	out := &apipb.Image{Reference: valid(s.Reference), Driver: s.Driver, Present: s.Present, Ours: s.Ours, Outdated: s.Outdated}
	if s.Present {
		out.Digest, out.SizeBytes, out.Created = valid(s.Image.Digest), s.Image.SizeBytes, timestamp(s.Image.Created)
	}
	return out
}
